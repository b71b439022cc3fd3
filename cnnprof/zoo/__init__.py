"""Classic architectures with the published facts about each: networks by family, facts in facts/*.toml."""
