"""The router in front of the revisions: Envoy, configured by files, read through its admin socket."""
