"""Images of bundles, made without an engine: layers, configuration, manifests, in the forms of the OCI."""
