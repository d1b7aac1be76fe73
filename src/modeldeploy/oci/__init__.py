"""The content formats of the Open Container Initiative: descriptors, manifests, layers, layout folders.

Standard library only. Bundles, images, signatures and the audit log are all kept in these forms, so that
any registry can hold them and other tools can read them.
"""
