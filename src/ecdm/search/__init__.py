"""The search over hyperparameters as Optuna sees it: its settings, studies, trials, results and figures."""
