"""The vertical recommender: what the requests of containers should be, by what they have used."""
