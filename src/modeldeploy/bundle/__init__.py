"""Bundles: a BentoML Bento plus a manifest, named by the digest of their content."""
