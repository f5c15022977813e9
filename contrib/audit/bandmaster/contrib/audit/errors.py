"""Every exception of the audit trail.

AuditError
├── AuditUnavailableError    the store can't be used now (a TransientError)
├── AuditRefusedError        an entry or a command is refused for good (a PermanentError)
└── UnverifiableError        a verification could not be carried out (a PermanentError)
"""

from __future__ import annotations

from bandmaster.kernel import BandmasterError, PermanentError, TransientError


class AuditError(BandmasterError):
    """The base of the exceptions of the audit trail."""


class AuditUnavailableError(AuditError, TransientError):
    """The store can't be used at the moment, or another transaction holds the end of the chain for too long."""


class AuditRefusedError(AuditError, PermanentError):
    """The store refuses an entry or an operation for good, for example because its tables are missing."""


class UnverifiableError(AuditError, PermanentError):
    """A verification couldn't be carried out: a key or a file is missing, or a file was changed.

    Nothing is known about the chain then, which is neither sound nor tampered with.
    """
