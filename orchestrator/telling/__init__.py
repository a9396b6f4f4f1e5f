"""Telling people, beside the corridor: words for an event, answers from chat, reminders, and pages held back while work advances.

Each part is a chore that looks at what stands in the database and makes the world outside fit it: killed at any line, the next
worker that looks goes on from there.
"""
