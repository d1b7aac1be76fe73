"""What runs inside a bundle. Copied there as it is: imports nothing else of modeldeploy."""
