"""The ways to ask for a prediction: one codec each, from request to arrays and back."""
