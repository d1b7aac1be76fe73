"""What each server is given to serve: the service of its documentation around the same session."""
