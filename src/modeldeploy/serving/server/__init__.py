"""The HTTP server: connections, the strict fast lane, and uvicorn for everything else."""
