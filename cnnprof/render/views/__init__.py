"""From Profiles to rows and series: pure functions, tested as data. Renderers only draw what stands here."""
