"""Signs files as minisign does, with a key made on the spot; `test_signature.py` asks the tool."""

import base64
import hashlib

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Minisign:
    """A pair of keys; `public_file` is what an operator copies to the robot."""

    def __init__(self, key_id=b"semlatst"):
        self.key_id = key_id
        self.key = Ed25519PrivateKey.generate()

    def public_file(self, path):
        raw = self.key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        encoded = base64.b64encode(b"Ed" + self.key_id + raw).decode()
        path.write_text(f"untrusted comment: test\n{encoded}\n")
        return path

    def signature(self, content, comment=b"made by a test"):
        signed = self.key.sign(hashlib.blake2b(content).digest())
        whole = self.key.sign(signed + comment)
        lines = (
            b"untrusted comment: test",
            base64.b64encode(b"ED" + self.key_id + signed),
            b"trusted comment: " + comment,
            base64.b64encode(whole),
        )
        return b"".join(line + b"\n" for line in lines)

    def sign(self, path, **options):
        """Write the signature of file `path` beside it."""
        signature = path.with_name(path.name + ".minisig")
        signature.write_bytes(self.signature(path.read_bytes(), **options))
        return signature
