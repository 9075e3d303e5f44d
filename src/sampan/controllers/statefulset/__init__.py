"""StatefulSets: pods with names, claims and an order.

- `view`      what is known, and which pods and revisions belong to it
- `identity`  the names, labels and volumes of the pod with an ordinal
- `claims`    PersistentVolumeClaims: made for pods, kept or given up with them
- `rollout`   which pod is made, removed or replaced next
- `status`    counts
- `plan`      puts these together
"""
