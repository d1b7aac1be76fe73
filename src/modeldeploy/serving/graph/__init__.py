"""Several models as one: chains, ensembles, choice by rule, and hooks before and after."""
