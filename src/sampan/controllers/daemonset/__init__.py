"""DaemonSets: one pod on each node that is fit for it.

- `view`       what is known
- `placement`  which nodes are fit, and the pod for a node
- `failures`   how long a failed pod stays before it is replaced
- `rollout`    which pods are too many, missing or out of date
- `status`     counts
- `plan`       puts these together
"""
