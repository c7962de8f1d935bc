"""Sessions on disk."""

from lmlab.store.records import Attachment, Branch, Candidacy, Change, Pruned, Reply, Session, TemplateUse, Turn
from lmlab.store.rows import prompt_from_dict, prompt_to_dict, reply_from_dict, reply_to_dict
from lmlab.store.search import Found, Snippet
from lmlab.store.store import Store

__all__ = [
    "Attachment",
    "Branch",
    "Candidacy",
    "Change",
    "Found",
    "Pruned",
    "Reply",
    "Session",
    "Snippet",
    "Store",
    "TemplateUse",
    "Turn",
    "prompt_from_dict",
    "prompt_to_dict",
    "reply_from_dict",
    "reply_to_dict",
]
