"""Everything that talks to a relay from outside: library, terminal chat, load, comparison."""
