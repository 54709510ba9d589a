"""Files as MIT's tools write them: `ktutil` a keytab of two principals, `kinit` the head of a ticket cache.

The keys are made of a password that nothing uses.
"""

from __future__ import annotations

import base64
from typing import Final

ACCOUNT: Final = "svc-contacts@EXAMPLE.TEST"
SERVICE: Final = "HTTP/mail.example.test@EXAMPLE.TEST"

KEYTAB: Final = base64.b64decode(
    "BQIAAABPAAEADEVYQU1QTEUuVEVTVAAMc3ZjLWNvbnRhY3RzAAAAAWsCoHQBABIAILVhNlQcfTqdc2lsaZk/1M7beVUTOqnwAUC/"
    "uIMwwp2EAAAAAQAAAEoAAgAMRVhBTVBMRS5URVNUAARIVFRQABFtYWlsLmV4YW1wbGUudGVzdAAAAAFrAqB0LAARABD5qo22M7Xt"
    "5wR5TwipycJfAAABLA=="
)
CACHE: Final = base64.b64decode(
    "BQQADAABAAgAAAAAAAAAAAAAAAEAAAABAAAADEVYQU1QTEUuVEVTVAAAAAxzdmMtY29udGFjdHMAAAABAAAAAQAAAAxFWEFNUExF"
    "LlRFU1QAAAAMc3ZjLWNvbnRhY3RzAAAAAQ=="
)
