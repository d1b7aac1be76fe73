"""What Debian's maintainer scripts would have made, made here: they do not run."""

from __future__ import annotations

from modeldeploy.image.base.tree import Tree

ORIGIN = "mdeploy's own files"
USER = 65532
"""The user that images run as. It owns nothing."""
_PASSWD = f"""root:x:0:0:root:/root:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
nonroot:x:{USER}:{USER}:nonroot:/home/nonroot:/usr/sbin/nologin
"""
_GROUP = f"root:x:0:\ntty:x:5:\nstaff:x:50:\nnogroup:x:65534:\nnonroot:x:{USER}:\n"
_NSSWITCH = """passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
"""
_HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_FOLDERS = (
    "boot",
    "dev",
    "etc",
    "home",
    "media",
    "mnt",
    "opt",
    "proc",
    "run",
    "srv",
    "sys",
    "var",
    "var/lib",
)
_CERTIFICATES = "usr/share/ca-certificates/"
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_UNWANTED = (
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/lintian/",
    "usr/share/bug/",
    "usr/share/doc-base/",
    "usr/share/menu/",
    "usr/share/pixmaps/",
    "usr/share/applications/",
    "usr/share/binfmts/",
    "usr/share/groff/",
    "usr/share/linda/",
    "etc/init.d/",
    "etc/cron.daily/",
    "etc/update-motd.d/",
    "usr/lib/systemd/",
)

ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    f"SSL_CERT_FILE=/{_BUNDLE}",
)


def complete(tree: Tree) -> None:
    """Take out what only people at a terminal read, and add what the packages expect to find."""
    tree.drop(_is_unwanted)
    _folders(tree)
    _accounts(tree)
    _links_into_usr(tree)
    _certificates(tree)


def _is_unwanted(path: str) -> bool:
    """Licences stay: they say so themselves."""
    return path.startswith(_UNWANTED) and not path.endswith("/copyright")


def _folders(tree: Tree) -> None:
    for path in _FOLDERS:
        tree.folder(path, ORIGIN)
    for path in ("tmp", "var/tmp"):
        tree.folder(path, ORIGIN, mode=0o1777)
    tree.folder("root", ORIGIN, mode=0o700)
    tree.folder("home/nonroot", ORIGIN)


def _accounts(tree: Tree) -> None:
    contents = {"passwd": _PASSWD, "group": _GROUP, "nsswitch.conf": _NSSWITCH, "hosts": _HOSTS}
    for name, text in contents.items():
        if not tree.has(f"etc/{name}"):
            tree.file(f"etc/{name}", text.encode(), ORIGIN)


def _links_into_usr(tree: Tree) -> None:
    """``/lib`` and its like: the loader's path, ``/lib64/ld-linux-x86-64.so.2``, is in every program."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if tree.paths(f"usr/{name}/"):
            tree.root_link(name, f"usr/{name}", ORIGIN)


def _certificates(tree: Tree) -> None:
    """The one file of all certificates, and where OpenSSL looks for it."""
    parts = [tree.read(path) for path in tree.paths(_CERTIFICATES, ".crt")]
    tree.file(_BUNDLE, b"".join(part.rstrip(b"\n") + b"\n" for part in parts), ORIGIN)
    for name, target in (("certs", "/etc/ssl/certs"), ("cert.pem", f"/{_BUNDLE}")):
        if not tree.has(f"usr/lib/ssl/{name}"):
            tree.link(f"usr/lib/ssl/{name}", target, ORIGIN)
