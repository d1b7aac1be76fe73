"""Signatures of bundles and images, in cosign's forms: cosign verifies ours, and we verify cosign's.

`keys` and `keyfile` know keys, `signers` those who sign, `payload` what a signature says, `attached` where
it is kept, `verifying` whose counts, and `attesting` does the same for SBOMs and provenance.
"""
