"""What was changed and by whom: entries, holds, and how to undo a change."""
