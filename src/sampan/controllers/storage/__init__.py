"""Storage: claims find volumes, volumes are made, grow and go.

- `names`       annotations, finalizers and who uses what, shared by all of them
- `matching`    which volume suits a claim
- `binder`      claims and volumes bound to each other, and what becomes of released volumes
- `localpath`   volumes made as directories of nodes: the default StorageClass
- `expansion`   bound claims that ask for more
- `protection`  claims and volumes that are in use stay
- `ephemeral`   the claims of pods' own volumes
- `attachment`  CSI volumes on their way to nodes and back
"""
