"""The desk: what people may ask of an orchestrator and do with it, whatever face they use.

The classes here are the parts of `app.Orchestrator`; it makes the attributes that they name.
"""
