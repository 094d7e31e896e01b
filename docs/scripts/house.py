"""Draw the house: which room of the package imports which. `python docs/scripts/house.py > house.svg`."""

import ast
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "motionclone"
WIDTH, HEIGHT, APART, FLOOR = 104, 32, 34, 70


def rooms() -> dict[str, set[str]]:
    """Every room (a module or a folder of them) and the rooms that it imports."""
    names = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    names.discard("__init__")
    found: dict[str, set[str]] = {name: set() for name in sorted(names)}
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if room in found and isinstance(node, ast.ImportFrom) and node.module:
                wholes = [f"{node.module}.{alias.name}".split(".") for alias in node.names]
                found[room] |= {whole[1] for whole in wholes if whole[0] == "motionclone" and whole[1] in names}
        found.get(room, set()).discard(room)
    return found


def picture() -> str:
    """An SVG: a room stands a floor above the highest that it imports; arrows that follow from others are left out."""
    needs = rooms()

    @cache
    def reached(room: str) -> frozenset[str]:
        return frozenset(needs[room]).union(*(reached(other) for other in needs[room]))

    @cache
    def floor(room: str) -> int:
        return 1 + max((floor(other) for other in needs[room]), default=-1)

    floors: dict[int, list[str]] = {}
    for room in needs:
        floors.setdefault(floor(room), []).append(room)
    widest = max(map(len, floors.values()))
    wide, high = widest * (WIDTH + APART) + APART, (max(floors) + 1) * FLOOR
    place = {}
    below: dict[str, float] = {}
    for number in sorted(floors):
        # Rooms stand above those that they import, as far as there is place.
        row = sorted(floors[number], key=lambda room: (_middle([below[o] for o in needs[room]], wide), room))
        left = (wide - len(row) * (WIDTH + APART) + APART) / 2
        for index, room in enumerate(row):
            place[room] = (left + index * (WIDTH + APART), high - (number + 1) * FLOOR + (FLOOR - HEIGHT) / 2)
            below[room] = place[room][0]
    arrows, boxes = [], []
    for room, (x, y) in sorted(place.items()):
        boxes.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
            f'<text x="{x + WIDTH / 2:.0f}" y="{y + HEIGHT / 2 + 4:.0f}">{room}</text>'
        )
        for other in sorted(needs[room]):
            if not any(other in reached(between) for between in needs[room]):
                to_x, to_y = place[other]
                x1, y1, x2, y2 = x + WIDTH / 2, y + HEIGHT, to_x + WIDTH / 2, to_y - 3
                turn = (y1 + y2) / 2
                arrows.append(
                    f'<path d="M{x1:.0f} {y1:.0f}C{x1:.0f} {turn:.0f} {x2:.0f} {turn:.0f} {x2:.0f} {y2:.0f}"/>'
                )
    return (
        f'<svg class="house" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img" '
        'aria-label="Rooms of the package, each above those that it imports" font-family="sans-serif" font-size="13">'
        '<defs><marker id="to" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#888"/></marker></defs>'
        f'<g fill="none" stroke="#888" marker-end="url(#to)">{"".join(arrows)}</g>'
        "<style>.house rect{fill:#e8eaf6;stroke:#3f51b5}.house text{fill:#1a237e;text-anchor:middle}</style>"
        f"{''.join(boxes)}</svg>"
    )


def _middle(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise / 2


if __name__ == "__main__":
    print(picture())
