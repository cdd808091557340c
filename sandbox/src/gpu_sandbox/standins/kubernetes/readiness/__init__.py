"""When an object works: one judgement per kind, on objects as data. Pure; asks no cluster."""
