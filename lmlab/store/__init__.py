"""Sessions on disk."""

from lmlab.store.records import Attachment, Candidacy, Change, Reply, Session, Turn
from lmlab.store.rows import reply_from_dict, reply_to_dict
from lmlab.store.store import Store

__all__ = [
    "Attachment",
    "Candidacy",
    "Change",
    "Reply",
    "Session",
    "Store",
    "Turn",
    "reply_from_dict",
    "reply_to_dict",
]
