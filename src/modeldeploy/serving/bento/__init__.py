"""Where BentoML comes in: the generated service, and the fast lane for a user's own."""
