"""The plugins, one file each: `filter` says where a pod can run, `score` where it had better."""
