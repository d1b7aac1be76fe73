"""What a service tells of itself: metrics, logs, traces."""
