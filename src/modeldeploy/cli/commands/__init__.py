"""What each command does: ask `modeldeploy.ops`, and put its answer into words."""
