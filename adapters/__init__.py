"""Adapters: classes that implement the interfaces of `ports/`, each with one technology.

Each port has a folder and each technology a module: `adapters/<port>/<technology>.py`. An adapter
translates the errors of its technology in one place, owns its threads and processes, and imports no
other adapter.
"""
