"""Deployments: one ReplicaSet for each revision, and the way from one revision to the next.

- `view`       what is known, and helpers over ReplicaSets
- `revisions`  the new ReplicaSet: found or made, its revision and annotations; cleaning up of old ones
- `scaling`    how many pods each ReplicaSet may have: rolling, recreating, proportional
- `status`     counts and conditions
- `plan`       puts these together
"""
