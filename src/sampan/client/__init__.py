"""How every other part reaches the API server: typed client, informers, queues, effects."""
