"""What this library costs, beside what a hand-written loop, a bare socket and other clients cost: ``make bench``."""
