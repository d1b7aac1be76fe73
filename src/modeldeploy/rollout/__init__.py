"""The rollout: its steps, the plan, the judge, the journal, and the engine that runs them."""
