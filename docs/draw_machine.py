"""Draws the machine of a call, as the table `TRANSITIONS` has it: ``python docs/draw_machine.py`` prints the diagram.

The pages show it between two marks; a test sees to it that what they show is what this prints.
"""

from __future__ import annotations

from meshapi_core import TRANSITIONS, State

LAST = (State.DONE, State.FAILED)


def diagram() -> str:
    """The states and moves as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.SEND_REQUEST.name}"]
    for state, moves in TRANSITIONS.items():
        for move, target in moves.items():
            lines.append(f"    {state.name} --> {target.name}: {move.value}")
    lines += [f"    {state.name} --> [*]" for state in LAST]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(diagram(), end="")
