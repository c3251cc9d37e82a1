"""What a person wants to see of a distribution of grids."""

import jax
import jax.numpy as jnp

from levels.gridworld.level import GridLevel, distance_to_objects, inside, used


def features(level: GridLevel) -> dict[str, jax.Array]:
    """Measurements of a level, each f32[].

    `height` and `width` in cells, `walls` the share of its cells, `objects` their number, `reward_sum` and `reward_max` over
    objects, `terminate` and `respawn` means of the decimal logarithm (from -6), `limit` in steps, `distance` in steps from
    the start to the nearest object, `reachable` the share of objects within reach.
    """
    in_use = used(level)
    count = jnp.sum(in_use, dtype=jnp.float32)
    cells = inside(level)
    distance = distance_to_objects(level)

    def mean_log(probability: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(in_use, jnp.log10(jnp.maximum(probability, 1e-6)), 0.0)) / count

    return {
        "height": level.height.astype(jnp.float32),
        "width": level.width.astype(jnp.float32),
        "walls": jnp.sum(level.walls & cells, dtype=jnp.float32) / jnp.sum(cells, dtype=jnp.float32),
        "objects": count,
        "reward_sum": jnp.sum(level.reward),
        "reward_max": jnp.max(jnp.where(in_use, level.reward, -jnp.inf)),
        "terminate": mean_log(level.terminate),
        "respawn": mean_log(level.respawn),
        "limit": level.limit.astype(jnp.float32),
        "distance": jnp.min(jnp.where(distance >= 0, distance, level.walls.size)).astype(jnp.float32),
        "reachable": jnp.sum(distance >= 0, dtype=jnp.float32) / count,
    }
