"""Copies inside a bucket: the bytes do not pass through this machine."""

from __future__ import annotations

from modeldeploy.registry.s3.bucket import Bucket
from modeldeploy.registry.s3.faults import Answered

LARGEST = 5 << 30
"""Bytes that S3 copies in one request; above, it copies part by part."""
_PART = 1 << 30


def copy(
    bucket: Bucket, source: str, key: str, size: int, *, at_once: int = LARGEST, part: int = _PART
) -> None:
    """Copy an object of this bucket. Raises `RegistryError`."""
    place = {"Bucket": bucket.name, "Key": source}
    if size <= at_once:
        bucket.ask("copy_object", key=key, CopySource=place)
        return
    begun = bucket.ask("create_multipart_upload", key=key)["UploadId"]
    try:
        parts = []
        for number, start in enumerate(range(0, size, part), 1):
            end = min(start + part, size) - 1
            answer = bucket.call(
                "upload_part_copy",
                key=key,
                UploadId=begun,
                PartNumber=number,
                CopySource=place,
                CopySourceRange=f"bytes={start}-{end}",
            )
            parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
        bucket.call("complete_multipart_upload", key=key, UploadId=begun, MultipartUpload={"Parts": parts})
    except Answered as answer:
        bucket.ask("abort_multipart_upload", key=key, UploadId=begun)
        raise bucket.error(answer) from answer
