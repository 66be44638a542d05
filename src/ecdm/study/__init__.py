"""The blinded user study of Figure 7: plan, page, server, votes, report."""
