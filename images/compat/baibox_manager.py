"""The head of 21.03 ends every new session with `UnboundLocalError: min_value`.

`get_image_slot_ranges` sets its bounds only where an image leaves them out, and images
have them. The tree's own function is asked first: once it is mended there, this is
never reached.
"""
from decimal import Decimal

import baibox_import


def cure(module):
    asked = module.SharedConfig.get_image_slot_ranges

    async def get_image_slot_ranges(self, image_ref):
        try:
            return await asked(self, image_ref)
        except UnboundLocalError:
            return await ranges(module, self, image_ref)

    module.SharedConfig.get_image_slot_ranges = get_image_slot_ranges


async def ranges(module, config, image_ref):
    """Least and most of every slot, as later releases tell them."""
    bounds = (await config.etcd.get_prefix_dict(image_ref.tag_path))["resource"]
    least, most = module.ResourceSlot(), module.ResourceSlot()
    for slot, unit in (await config.get_resource_slots()).items():
        number = module.BinarySize.from_str if unit == "bytes" else Decimal
        bound = bounds.get(slot, {})
        least[slot] = number(bound["min"]) if bound.get("min") is not None else Decimal(0)
        most[slot] = number(bound["max"]) if bound.get("max") is not None else Decimal("Infinity")
    return least, most


baibox_import.when_imported("ai.backend.manager.config", cure)
