"""The API server: `core` decides and answers without HTTP; `http` speaks to the network."""
