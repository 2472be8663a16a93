"""`python -m services.media_store`: the service; with `reconcile [--apply]` or `sweep`, one piece of its maintenance."""

from __future__ import annotations

from services.media_store.commands import main

if __name__ == "__main__":
    main()
