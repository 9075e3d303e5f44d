"""Custom resources: definitions that come and go while the server runs, and the objects of their kinds."""
