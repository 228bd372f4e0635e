"""Words to phones: the inventory, the languages, and the espeak-ng library that speaks and transcribes."""
