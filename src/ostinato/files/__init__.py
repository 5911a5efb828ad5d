"""Files on disk: the atomic writer and the checked download; standard library only."""
