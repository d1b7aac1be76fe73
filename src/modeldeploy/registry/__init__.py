"""Where bundles and images are kept: a folder, S3, or any OCI registry, all behind one protocol."""
