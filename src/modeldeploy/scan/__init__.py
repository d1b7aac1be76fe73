"""Known vulnerabilities of locked packages, and files of a bundle that run code when they are loaded.

``advisories`` reads a database in OSV's form, ``severity`` its scores, ``matching`` says which advisories
concern which packages, ``online`` asks pip-audit. What files would do is found out by
`modeldeploy.bundle.pickles`.
"""
