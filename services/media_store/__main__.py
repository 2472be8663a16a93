"""`python -m services.media_store`: the service; with `reconcile [--apply]` or `sweep`, one piece of its upkeep."""

if __name__ == "__main__":
    # Not at the top: the image workers import this module as they start, and need none of it.
    from services.media_store.commands import main

    main()
