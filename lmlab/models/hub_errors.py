"""What went wrong between here and the hub, in one line that says what to do. Knows nothing of files or of caches."""

from __future__ import annotations

from urllib.parse import urlsplit

from lmlab.models.transfer import TIMEOUT_S
from lmlab.terminal_text import one_line


def explain(error: Exception, repo: str, endpoint: str) -> str:
    """Return one line that says what is the matter and what to do."""
    import httpx2
    from huggingface_hub import errors as hub

    host = urlsplit(endpoint).netloc or endpoint
    if isinstance(error, hub.GatedRepoError):
        return _explain_gate(repo, endpoint, known="authorization" in error.response.request.headers)
    if isinstance(error, hub.RepositoryNotFoundError):
        return f"{host} has no repository {repo} for you: check the name; for a private one set HF_TOKEN or run `hf auth login`"
    if isinstance(error, hub.RevisionNotFoundError):
        return f"{repo} on {host} has no main branch: it is empty or is being written"
    if isinstance(error, hub.HfHubHTTPError):
        return _explain_status(error.response.status_code, repo, host)
    if isinstance(error, httpx2.TimeoutException):
        return f"{host} did not answer within {TIMEOUT_S} seconds: check the network, or try again"
    if isinstance(error, (httpx2.HTTPError, hub.OfflineModeIsEnabled)):
        return (
            f"{host} cannot be reached ({_reason(error)}): check the network and proxy settings; "
            "models that are here work without (lmlab models list)"
        )
    if isinstance(error, OSError) and error.filename:
        return f"cannot read {error.filename}: {error.strerror}; check HF_HOME and the rights on that folder"
    return f"{host} does not answer as a Hugging Face hub does ({_reason(error)}): check HF_ENDPOINT and proxies"


def _explain_gate(repo: str, endpoint: str, *, known: bool) -> str:
    """``known``: whether a token was sent."""
    accept = f"{repo} is gated: accept its terms at {endpoint}/{repo}"
    tokens = f"{endpoint}/settings/tokens"
    if known:
        return (
            f"{accept} with the account of the token that was sent; a token for chosen things must be allowed to read "
            f"gated repositories ({tokens})"
        )
    return f"{accept}, make a token of that account with the right to read ({tokens}), then set HF_TOKEN or run `hf auth login`"


def _explain_status(status: int, repo: str, host: str) -> str:
    if status == 401:
        return f"{host} does not accept the token for {repo}: set HF_TOKEN to a valid one, or run `hf auth login`"
    if status == 403:
        return f"{host} does not let this token read {repo}: ask for access on its page, or use another HF_TOKEN"
    if status == 429:
        return f"{host} says there were too many requests: wait some minutes, or set HF_TOKEN"
    if status >= 500:
        return f"{host} answered {status}, a fault of its own: try again later"
    return f"{host} answered {status} for {repo}: try again later"


def _reason(error: Exception) -> str:
    return one_line(str(error), 120) or type(error).__name__
