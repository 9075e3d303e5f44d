"""Jobs: pods that are run until enough of them have succeeded.

- `indexes`   sets of completion indexes, written as Kubernetes writes them
- `failures`  what a failed pod means: podFailurePolicy, back-off, when it ended
- `facts`     what can be told from a Job and its pods: who is active, who succeeded, who failed
- `tracking`  counting every pod exactly once, by finalizers and status.uncountedTerminatedPods
- `outcome`   whether the Job has failed or succeeded, and why
- `scaling`   which pods are made and which are removed
- `plan`      puts these together
- `ttl`, `orphans`  finished Jobs that have had their time; pods that have lost their Job
"""
