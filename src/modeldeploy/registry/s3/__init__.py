"""A registry in a bucket of S3, or of a server that speaks its protocol.

::

    PREFIX/NAME/blobs/sha256/HEX        content, written once
    PREFIX/NAME/manifests/sha256/HEX    the same; its content type is the manifest's media type
    PREFIX/NAME/tags/TAG                JSON: media type, digest and size of what the tag points to

Everything but tags is named by its content, so that it does not matter who writes it or how often. Tags are
written under the condition that they are still as they were read: S3 itself decides who of two was first.
"""

from modeldeploy.registry.s3.repository import S3Registry, S3Repository

__all__ = ["S3Registry", "S3Repository"]
