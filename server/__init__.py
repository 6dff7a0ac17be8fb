"""The relay that operators run (``louverd``), and its moderation vault."""
